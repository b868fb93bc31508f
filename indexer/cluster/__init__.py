"""Embedding by several processes: workers read and encode, the one who runs the command commits.

`parts` is what is sent and what comes back, `drive` hands it out and commits in order, `worker` runs elsewhere. On
several machines `pool` and `engine` are all that knows Ray; for several devices of one machine `processes` and
`devices` take their place, with `process` at the other end.
"""
