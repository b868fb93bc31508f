"""The HTTP API of an atlas and the page that uses it; needs the extra `serve`."""
