"""Drafts of applications: from a description, from a template, or from a prompt with an example."""
