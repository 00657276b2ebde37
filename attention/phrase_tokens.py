"""Local prompts inside the global prompt (method.md 7), on token ids: no tokenizer is known here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


class PhraseNotFound(ValueError):
    """A phrase has no free occurrence in the prompt.

    Attributes:
        index: which phrase, 0-based; a host that knows the words can name them.
        taken: True if it does occur, but only on tokens that other phrases have already claimed.
    """

    def __init__(self, index: int, ids: Sequence[int], taken: bool):
        self.index = index
        self.taken = taken
        if taken:
            why = "occurs only where another phrase already stands; write it into the prompt once more"
        else:
            why = "does not occur in the prompt; write it into the prompt word for word"
        super().__init__(f"phrase {index + 1} (token ids {list(ids)}) {why}, or leave the region out.")


def find_phrases(
    prompt_ids: Sequence[int], phrases: Sequence[Sequence[int]], *, special: Collection[int] = ()
) -> list[tuple[int, ...]]:
    """Find each phrase in the prompt; return the positions of its tokens.

    Args:
        prompt_ids: token ids of the flattened prompt (several chunks of 77 one after the other), specials included.
        phrases: token ids of each phrase, without specials, in region order.
        special: ids that are no words (begin, end, padding). They are skipped, so that a phrase may cross the seam
            between two chunks.

    Returns:
        For each phrase the positions in prompt_ids, rising. No position is given twice: of equal phrases each takes
        the next free occurrence; a longer phrase chooses before a shorter one, so that "cat" does not take the cat
        out of "cat in a hat".

    Raises:
        PhraseNotFound: a phrase does not occur, or not as often as it is asked for.
        ValueError: a phrase without tokens.
    """
    words = [(position, token) for position, token in enumerate(prompt_ids) if token not in special]
    ids = [token for _, token in words]
    found: dict[int, tuple[int, ...]] = {}
    claimed: set[int] = set()
    for index in sorted(range(len(phrases)), key=lambda n: -len(phrases[n])):  # stable: region order among equals
        phrase = list(phrases[index])
        if not phrase:
            raise ValueError(f"phrase {index + 1} has no tokens; expected at least one word.")
        size = len(phrase)
        starts = [n for n in range(len(ids) - size + 1) if ids[n : n + size] == phrase]
        free = [n for n in starts if claimed.isdisjoint(range(n, n + size))]
        if not free:
            raise PhraseNotFound(index, phrase, taken=bool(starts))
        claimed.update(range(free[0], free[0] + size))
        found[index] = tuple(position for position, _ in words[free[0] : free[0] + size])
    return [found[index] for index in range(len(phrases))]


def phrase_occurrences(
    prompt_ids: Sequence[int], phrase: Sequence[int], *, special: Collection[int] = ()
) -> list[tuple[int, ...]]:
    """All places of one phrase in the prompt, from left to right, none overlapping another; [] where there is none.

    Args, positions and errors as in `find_phrases`; but nothing is claimed: "cat" is found in "cat in a hat" too.
    """
    size = len(phrase)
    if not size:
        raise ValueError("the phrase has no tokens; expected at least one word.")
    words = [(position, token) for position, token in enumerate(prompt_ids) if token not in special]
    found, start = [], 0
    while start + size <= len(words):
        part = words[start : start + size]
        here = [token for _, token in part] == list(phrase)
        if here:
            found.append(tuple(position for position, _ in part))
        start += size if here else 1
    return found


def text_labels(length: int, spans: Sequence[Sequence[int]], starts: Sequence[int] = ()) -> Tensor:
    """One label per text token: int64 [length]; the tokens of spans[k - 1] get k = 1..R, those of starts 0, others -1.

    starts: positions of start tokens, one in each chunk. A causal text encoder gives them the same embedding whatever
    the prompt says, so they are what a background can look at that is to draw no region's words.

    Raises:
        ValueError: a position outside 0..length - 1, or one that two spans share.
    """
    labels = torch.full((length,), -1, dtype=torch.int64)
    labels[list(starts)] = 0
    for region, span in enumerate(spans, start=1):
        for position in span:
            if not 0 <= position < length:
                raise ValueError(
                    f"text_labels: region {region} has a token at position {position}; expected 0 to {length - 1}. "
                    f"Its phrase lies beyond the end of the encoded prompt: shorten the prompt."
                )
            if labels[position] > 0:
                raise ValueError(
                    f"text_labels: position {position} belongs to regions {int(labels[position])} and {region}; "
                    f"expected spans that do not overlap. Give each region words of its own."
                )
            labels[position] = region
    return labels


def splice(
    global_embedding: Tensor,
    spans: Sequence[Sequence[int]],
    local_embeddings: Sequence[Tensor],
    local_spans: Sequence[Sequence[int]],
) -> Tensor:
    """Write separately encoded phrases over their places in the encoded global prompt (method.md 7).

    This stops the text encoder from mixing attributes before attention sees them.

    Args:
        global_embedding: [1, L, C].
        spans: positions of each phrase in the global prompt (`find_phrases`).
        local_embeddings: for each phrase [1, L_k, C], the phrase encoded as a prompt of its own.
        local_spans: positions of each phrase's words in its own prompt, as many as in `spans`.

    Returns:
        A new tensor [1, L, C] of the global embedding's dtype and device.

    Raises:
        ValueError: lists of unequal length, widths that differ, spans of unequal length or out of range.
    """
    if not len(spans) == len(local_embeddings) == len(local_spans):
        raise ValueError(
            f"splice: expected one span, one embedding and one local span per region; got {len(spans)}, "
            f"{len(local_embeddings)} and {len(local_spans)}."
        )
    _check_embedding("the global embedding", global_embedding, None)
    spliced = global_embedding.clone()
    for region, (span, local, local_span) in enumerate(zip(spans, local_embeddings, local_spans), start=1):
        _check_embedding(f"the embedding of region {region}", local, global_embedding.shape[2])
        if len(span) != len(local_span):
            raise ValueError(
                f"splice: region {region} has {len(span)} tokens in the global prompt and {len(local_span)} in its "
                f"own; expected equal numbers. Tokenise the phrase the same way in both."
            )
        for name, positions, length in (("global", span, spliced.shape[1]), ("own", local_span, local.shape[1])):
            if any(not 0 <= position < length for position in positions):
                raise ValueError(
                    f"splice: region {region}'s positions {list(positions)} in its {name} prompt must lie in "
                    f"0 to {length - 1}. Shorten the prompt."
                )
        spliced[:, list(span)] = local[:, list(local_span)].to(spliced)
    return spliced


def _check_embedding(what: str, embedding: Tensor, width: int | None) -> None:
    if embedding.dim() != 3 or embedding.shape[0] != 1 or width not in (None, embedding.shape[2]):
        raise ValueError(
            f"splice: {what} must be [1, tokens, {width if width else 'channels'}]; got {tuple(embedding.shape)}. "
            f"Encode one prompt at a time with the same text encoder."
        )
