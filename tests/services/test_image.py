"""The image's recipe and the shell scripts, as far as they can be judged without a container engine."""

import re
import subprocess

from server import TOP


def run(*arguments):
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=60, cwd=TOP, check=False)


def test_the_recipe_of_the_image_has_no_findings():
    done = run("hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shell_scripts_have_no_findings():
    done = run("shellcheck", ".ci/run", "tests/services.sh")
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_chart_and_crate_name_one_version():
    crate = re.search(r'^version = "(.+)"', (TOP / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    chart = (TOP / "helm" / "driftline" / "Chart.yaml").read_text()
    assert re.search(r'^appVersion: "(.+)"', chart, re.MULTILINE).group(1) == crate
    assert re.search(r"^ARG VERSION=(.+)", (TOP / "Dockerfile").read_text(), re.MULTILINE).group(1) == crate


def test_the_user_of_image_and_chart_is_one():
    dockerfile = (TOP / "Dockerfile").read_text()
    assert "USER 65532:65532" in dockerfile
    assert "runAsUser: 65532" in (TOP / "helm" / "driftline" / "values.yaml").read_text()
