"""The MGGTalk method: one portrait becomes a talking 3D head made of Gaussians.

Usable without ComfyUI, from Python and from the shell (``python -m mggtalk_core``).
"""

__version__ = "0.1.0"
