"""Fuzzing of the decoders: images of every format, changed at random but often well-formed.

    python -m tests.imaging.fuzz --minutes 10 --seed 1 --format png

Images are decoded in another process, which may take `campaign.SECONDS` and `campaign.BYTES` for
each. A seeded mutator that knows the formats is used and not atheris: that counts branches of
Python, while libraries in C do most of the work, and would seldom get past lengths and checksums.
"""
