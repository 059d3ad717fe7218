"""The learned inpainter: a small network over the composite, and finer ones for eyes and mouth (paper D.5)."""
