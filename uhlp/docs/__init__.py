"""Documentation: Markdown pages for people, and what makes the reference pages from code (`uhlp.docs.generate`).

The server shows the pages at /docs/uhlp; `uhlp/web/documentation` reads them as files.
"""
