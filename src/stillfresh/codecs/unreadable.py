"""What reading a frame raises; by itself, so that who only catches it loads no compression."""


class UnreadableFrame(Exception):
    """Bytes that are not a value of this type: cut, damaged, foreign, or of an older type."""
