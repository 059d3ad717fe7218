"""What is in the picture: landmarks, expression, parsing, crop, torso-background."""
