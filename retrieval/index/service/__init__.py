"""Qdrant's REST calls, as far as our adapter makes them, over Qdrant Edge: `footnote index`.

One process owns the shards, so that the API and the workers of one machine can be processes of their own. Requests and
answers are qdrant-client's own models; what a Qdrant server can do beyond them is refused with 501, never half done.
"""
