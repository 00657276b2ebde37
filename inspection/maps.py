"""Moved to measuring/attention_probe.py: scripts written for version 0.3 and older import from here."""

from ..attention.old_names import forward

__getattr__ = forward(
    __name__,
    {
        "AttentionMaps": "..measuring.attention_probe",
        "AttentionProbe": "..measuring.attention_probe",
        "InspectionError": "..measuring.attention_probe",
        "Phrase": "..measuring.attention_probe",
        "Place": "..measuring.attention_probe",
    },
)
