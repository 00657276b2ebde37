"""Core context windows over frames, on any version of the host (the node's inputs differ between them)."""

from comfy import context_windows


def windowed(model, schedule: str, fuse: str = "flat", length: int = 2, overlap: int = 1):
    """A clone that sees `length` frames at a time.

    ComfyUI 0.3.64 compares the noise level of every frame with the whole schedule, one by one, and so takes windows
    over frames only where there are as many frames as sigmas.
    """
    model = model.clone()
    model.model_options["context_handler"] = context_windows.IndexListContextHandler(
        context_schedule=context_windows.get_matching_context_schedule(schedule),
        fuse_method=context_windows.get_matching_fuse_method(fuse),
        context_length=length,
        context_overlap=overlap,
        context_stride=1,
        closed_loop=False,
        dim=0,
    )
    context_windows.create_prepare_sampling_wrapper(model)
    return model
