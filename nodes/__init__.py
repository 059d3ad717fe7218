"""The stages as ComfyUI nodes: each a schema as data and one call into the core."""
