"""Images as the bodies of frames: whole rows, as many as fit, with 8, 4 or 1 bits per pixel."""

import struct

import numpy as np

from firmware import wire

OVERHEAD = wire.MAX_FRAME - wire.MAX_BODY  # bytes of a frame that are not its body


def image_frames(
    kind: int, sequence: int, image: np.ndarray, label: int, bits: int, digest: bool, largest: int = wire.MAX_BODY
) -> list[tuple[int, bytes]]:
    """The bodies of one image (steps, rows) of uint8 pixels, each with its first row; `bits` leading bits per pixel."""
    steps, rows = image.shape
    per_frame = max(1, min((largest - wire.HEADER) * 8 // (bits * rows), steps))
    per_frame = -(-steps // -(-steps // per_frame))  # the same number of frames, evenly filled
    out = []
    for first in range(0, steps, per_frame):
        some = image[first : first + per_frame]
        flags = wire.WITH_DIGEST if digest else 0
        head = struct.pack(wire.ROWS_FORMAT, kind, sequence, first, len(some), label | flags)
        out.append((first, head + pack(some, bits)))
    return out


def pack(pixels: np.ndarray, bits: int) -> bytes:
    """The leading `bits` (8, 4 or 1) of each pixel, first pixel in the highest bits."""
    flat = pixels.ravel() >> (8 - bits)
    if bits == 8:
        return flat.tobytes()
    if bits == 1:
        return np.packbits(flat).tobytes()
    flat = np.concatenate([flat, np.zeros(len(flat) % 2, np.uint8)])
    return (flat[::2] << 4 | flat[1::2]).tobytes()
