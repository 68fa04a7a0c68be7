"""From label maps to unlimited pairs of image and labels."""
