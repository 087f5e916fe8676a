"""The vendors' APIs over one invented company, with the truth of its numbers, and faults on request.

It imports nothing of `b2b_pipeline`, which it judges: what both knew could be wrong in both. Only `b2b sandbox` starts
it, and the image is without it.
"""
