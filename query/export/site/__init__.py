"""A copy of an atlas' page as a folder of files that need no server; needs the extra `serve`."""
