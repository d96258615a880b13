"""`uhlp sandbox build-image` against a real engine, and what it says when it cannot."""

import asyncio
from pathlib import Path

from cli.conftest import Run
from tests.machine_image import http_client


async def test_the_image_is_built_and_its_names_id_and_size_are_said(
    uhlp: Run, docker_engine: str, base_image: str, runner_image: str, runner_wheels: Path
) -> None:
    built = await uhlp(
        "sandbox", "build-image", "--base", base_image, "--tag", "uhlp-test-cli", "--wheels", runner_wheels,
        "--network", "none", "--engine", docker_engine,
    )  # fmt: skip
    assert built.status == 0, built.err + built.out
    assert "Step 1/" in built.out
    exact = runner_image.partition(":")[2]
    assert f"built uhlp-test-cli:latest and uhlp-test-cli:{exact}" in built.out
    assert " id sha256:" in built.out
    assert built.out.rstrip().endswith(" MB")
    with http_client(docker_engine) as http:
        for tag in ("latest", exact):
            assert (await asyncio.to_thread(http.delete, f"/images/uhlp-test-cli:{tag}")).status_code == 200


async def test_an_engine_that_does_not_answer_is_one_line(uhlp: Run, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/none.sock"
    for failed in (
        await uhlp("sandbox", "build-image", "--engine", url),
        await uhlp("sandbox", "build-image", DOCKER_HOST=url),
        await uhlp("sandbox", "build-image", UHLP_SANDBOX__DOCKER__URL=url, DOCKER_HOST="unix:///no"),
    ):
        assert failed.status == 1
        assert f"The Docker engine at {url} does not answer" in failed.err
        assert len(failed.err.splitlines()) == 1


async def test_a_base_image_that_is_not_there_is_said_with_the_way_out(uhlp: Run, docker_engine: str) -> None:
    failed = await uhlp("sandbox", "build-image", "--base", "localhost:1/none:1", "--engine", docker_engine)
    assert failed.status == 1
    assert "The base image localhost:1/none:1 cannot be used" in failed.err


async def test_a_name_that_no_image_can_have_is_refused(uhlp: Run, docker_engine: str, base_image: str) -> None:
    line = ("sandbox", "build-image", "--base", base_image, "--tag", "Not A Name", "--engine", docker_engine)
    failed = await uhlp(*line)
    assert failed.status == 1
    assert "invalid reference format" in failed.err
    assert "base image" not in failed.err


async def test_an_argument_without_a_value_is_refused(uhlp: Run) -> None:
    failed = await uhlp("sandbox", "build-image", "--build-arg", "PIP_INDEX_URL")
    assert (failed.status, "NAME=VALUE" in failed.err) == (1, True)
