"""The parametric head model, its fit to landmarks, the camera and a z-buffer for meshes."""
