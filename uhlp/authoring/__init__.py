"""Drafts of applications: from a description, from a template, or from a prompt with an example."""

from uhlp.authoring.application_author import ApplicationAuthor
from uhlp.authoring.draft import Draft
from uhlp.authoring.templates_of_applications import TEMPLATES, template_files, template_for

__all__ = ["TEMPLATES", "ApplicationAuthor", "Draft", "template_files", "template_for"]
