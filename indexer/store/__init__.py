"""The atlas on disk: folder, locks, tables with their schemas, digests, cached vectors."""
