"""Embedding on several machines by Ray: workers read and encode, the one who runs the command commits.

`parts` is what is sent and what comes back, `drive` hands it out and commits in order, `worker` runs elsewhere, `pool`
and `engine` are all that knows Ray.
"""
