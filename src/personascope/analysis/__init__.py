"""Analysis: frames in, frames out. Pure and cheap, so it is recomputed and never stored."""
