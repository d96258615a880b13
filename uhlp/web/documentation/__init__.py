"""The documentation's pages at /docs/uhlp: Markdown files of `uhlp/docs`, shown as HTML."""
