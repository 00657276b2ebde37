"""Regions without masks: from the attention a model pays during the inversion to named things with a mask per frame."""
