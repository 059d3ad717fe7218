"""A real ComfyUI for the tests: setting it up, starting it, and asking it to run graphs."""
