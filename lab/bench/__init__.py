"""The bench: clips with exact truth, edited by the method and by other ways, judged by the world's reader."""
