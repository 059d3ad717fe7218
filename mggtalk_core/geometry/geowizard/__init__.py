"""GeoWizard (arXiv 2403.12013): depth and normals of one picture, denoised together by one diffusion network.

Written from the paper on top of diffusers' own networks; no network code is needed beside an attention processor and
the switcher. What the published weights (hub id ``lemonaddie/Geowizard``) are like:

Read in the published files: ``unet`` is a ``UNet2DConditionModel`` with 8 channels in (the picture's latent before the
noisy one), 4 out, cross attention to 768 channels, linear projections and a class embedding of 10 numbers; ``vae`` an
``AutoencoderKL``; ``image_encoder`` a ``CLIPVisionModelWithProjection`` (ViT-L/14, 224 pixels, 768 channels out) whose
one embedding is the whole context; ``scheduler`` DDIM with v-prediction; networks as safetensors, 5.0 GB together.
Read in the published description of a run: depth comes before normals in the batch and both start from the same noise;
the 10 numbers are sines and cosines of a one-hot pair (normals, depth) and of a one-hot triple (indoor, outdoor,
object); in every self-attention each task's queries see the keys of both; decoded depth is the mean of three channels.
Measured on two published predictions: depth grows away from the camera, and the decoded normals are in camera axes
(x right, y down, z forward) up to one common sign, which is why `orientation` looks at it.
Not verified: a run on the weights themselves, which are not distributed with this package.
"""
