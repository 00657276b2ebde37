"""The method's mathematics: torch only, no host, no model. See each module's first lines for its part."""

from .kernels.choice import KERNELS
from .kernels.logit_range import row_range
from .label_map import Layout, normalise_mask
from .memory import within_memory
from .modulated_attention import modulated_attention, plain_attention
from .modulation import Modulation, space_time_attention
from .observer import Observer, Seen
from .phrase_tokens import PhraseNotFound, find_phrases, phrase_occurrences, splice, text_labels
from .ranges import RANGES, RangeMemory, RangeRule
from .reference import reference_attention
from .schedule import CROSS, MAX_XI, SELF, NoiseLevels, Schedule
from .spacetime import SpaceTime

__all__ = [
    "CROSS",
    "KERNELS",
    "MAX_XI",
    "RANGES",
    "SELF",
    "Layout",
    "Modulation",
    "NoiseLevels",
    "Observer",
    "PhraseNotFound",
    "RangeMemory",
    "RangeRule",
    "Schedule",
    "Seen",
    "SpaceTime",
    "find_phrases",
    "modulated_attention",
    "normalise_mask",
    "phrase_occurrences",
    "plain_attention",
    "reference_attention",
    "row_range",
    "space_time_attention",
    "splice",
    "text_labels",
    "within_memory",
]
