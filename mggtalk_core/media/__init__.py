"""Images, video and sound in and out; filling of holes in images."""
