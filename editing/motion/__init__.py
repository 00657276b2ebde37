"""How things move from frame to frame: optical flow, and frames and masks carried along it."""
