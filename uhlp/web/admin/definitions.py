"""The files of an application's definition repository and their history (contracts §1, §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.models.wire import WireModel
from uhlp.registry.hidden_hashes import without_hashes
from uhlp.web.admin.access import ActorDep, IsWriterDep, ServicesDep
from uhlp.web.admin.kept_text import Author, KeptText

router = APIRouter(prefix="/apps/{app_id}", tags=["definitions"])


Limit = Annotated[int, Query(ge=1, le=1_000)]


class WriteFile(WireModel):
    content: str
    commit_message: KeptText
    expected_base_revision: str | None = None
    author: Author | None = None


class DeleteFile(WireModel):
    commit_message: KeptText = "Delete a definition file"
    expected_base_revision: str | None = None
    author: Author | None = None


class ApplyDiff(WireModel):
    """A unified diff against `expectedBaseRevision`."""

    file_path: str
    diff_content: str
    expected_base_revision: str
    commit_message: KeptText
    author: Author | None = None


class Revert(WireModel):
    revision: str
    commit_message: KeptText | None = None
    author: Author | None = None


@router.get("/definition")
async def list_directory(
    app_id: str, services: ServicesDep, directory: str = "", recursive: bool = False, revision: str | None = None
) -> dict[str, Any]:
    """Files and folders of its repository, at any commit."""
    entries = await services.state.list_definition_directory(app_id, directory, recursive=recursive, revision=revision)
    return {"entries": [{"path": entry.path, "type": entry.type} for entry in entries]}


@router.get("/definition/{path:path}")
async def read_file(
    app_id: str, path: str, services: ServicesDep, is_writer: IsWriterDep, revision: str | None = None
) -> dict[str, Any]:
    """One file, at any commit. Hashes of keys are hidden from those who may not write it."""
    file = await services.state.get_definition_file_content(app_id, path, revision)
    content = file.content if is_writer else without_hashes(file.content)
    return {"path": path, "content": content, "revision": file.revision}


@router.put("/definition/{path:path}")
async def write_file(app_id: str, path: str, body: WriteFile, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Write one file; the application is validated as a whole before the commit."""
    revision = await services.registry.apply_files(
        app_id,
        {path: body.content.encode()},
        message=_signed(body.commit_message, body.author, actor),
        actor=body.author or actor,
        expected_base_revision=body.expected_base_revision,
    )
    return {"resultingRevision": revision}


@router.delete("/definition/{path:path}")
async def delete_file(
    app_id: str, path: str, services: ServicesDep, actor: ActorDep, body: DeleteFile | None = None
) -> dict[str, Any]:
    """Remove one file: a commit, checked like every change."""
    change = body or DeleteFile()
    revision = await services.registry.apply_files(
        app_id,
        {path: None},
        message=_signed(change.commit_message, change.author, actor),
        actor=change.author or actor,
        expected_base_revision=change.expected_base_revision,
    )
    return {"resultingRevision": revision}


@router.post("/definition-diffs")
async def apply_diff(app_id: str, body: ApplyDiff, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Patch one file; the application is validated as a whole before the commit. A 409 shows the hunk that clashes."""
    revision = await services.registry.apply_definition_diff(
        app_id,
        body.file_path,
        body.diff_content,
        body.expected_base_revision,
        message=_signed(body.commit_message, body.author, actor),
        actor=body.author or actor,
    )
    return {"resultingRevision": revision}


@router.get("/history")
async def history(app_id: str, services: ServicesDep, path: str | None = None, limit: Limit = 50) -> dict[str, Any]:
    """Commits, newest first; of one path where it is given."""
    commits = await services.state.history(app_id, path, limit)
    return {
        "commits": [
            {
                "revision": commit.revision,
                "author": commit.author,
                "when": commit.when,
                "message": commit.message,
                "trailers": commit.trailers,
            }
            for commit in commits
        ]
    }


@router.get("/diff")
async def diff(
    app_id: str,
    services: ServicesDep,
    is_writer: IsWriterDep,
    old: Annotated[str, Query(alias="from")],
    new: Annotated[str, Query(alias="to")],
) -> dict[str, Any]:
    """The unified diff between two revisions. Hashes of keys are hidden from those who may not write the definition."""
    found = await services.state.diff(app_id, old, new)
    return {"diff": found if is_writer else without_hashes(found)}


@router.post("/revert")
async def revert(app_id: str, body: Revert, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """A new commit that undoes this revision, if what is left is a valid application."""
    revision = await services.registry.revert(
        app_id,
        body.revision,
        message=_signed(body.commit_message or f"Revert {body.revision}", body.author, actor),
        actor=body.author or actor,
    )
    return {"resultingRevision": revision}


def _signed(message: str, author: str | None, actor: str) -> str:
    """Whose token it was stands in every commit: as its author, or in a trailer beside the author that was named."""
    return message if author is None else f"{message}\n\nActor: {actor}"
