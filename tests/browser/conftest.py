"""A server as a user starts it, and headless Chromium in front of it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.conftest import PIANO, ROOT

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# What Streamlit's page says of a server that is not there.
GONE = ("ERR_CONNECTION", "disconnected from server", "reaching server endpoint", "server is not responding")


class Server:
    """``earmark app`` on a workspace; it can be killed and started again on the same port."""

    def __init__(self, workspace: Path):
        self.workspace = workspace
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.log = workspace.parent / f"server-{self.port}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *words: str) -> None:
        command = list(words) or [
            sys.executable,
            "-m",
            "core.cli",
            "app",
            "--workspace",
            str(self.workspace),
            "--port",
            str(self.port),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BROWSER": "true"}
        environment.pop("DISPLAY", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer:
                if answer.read() == b"ok":
                    return
            time.sleep(0.2)
        raise AssertionError(f"no server: {self.log.read_text()}")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the server and its launcher at once, as a crash would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "workspace")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on an empty workspace, for tests that neither write there nor end it."""
    server = Server(tmp_path_factory.mktemp("shared") / "workspace")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        message = "Chromium is not installed; make browser installs it where that can be done"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """Open an address in a browser of its own; in the end no page may have logged an error."""
    contexts, errors = [], []

    def listen(message: ConsoleMessage) -> None:
        # An address below the root makes Streamlit ask there first for its own routes, and be told no; and a page tells of
        # a server that was killed under it.
        own = "/_stcore/" in message.location.get("url", "")
        gone = any(sign in message.text for sign in GONE)
        if message.type == "error" and not own and not gone:
            errors.append(f"{message.text} {message.location}")

    def open_page(url: str) -> Page:
        context = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", listen)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        settle(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def settle(page: Page) -> None:
    """Wait until the page is connected and its script has run."""
    page.wait_for_selector("[data-testid='stApp'][data-test-connection-state='CONNECTED']")
    page.wait_for_selector("[data-test-script-state='notRunning']")


def click(page: Page, key: str, times: int = 1) -> None:
    """Click the button of a key."""
    page.locator(f".st-key-{key} button").click(click_count=times)


def go(page: Page, name: str) -> None:
    """Choose a page from the menu."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    settle(page)


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that holds the features of the bundled set."""
    workspace = tmp_path_factory.mktemp("extracted") / "workspace"
    command = [sys.executable, "-m", "core.cli", "extract", str(PIANO), "--workspace", str(workspace)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return workspace


@pytest.fixture
def ready_server(extracted: Path, tmp_path: Path) -> Iterator[Server]:
    """A server on a workspace of its own, where the bundled set is extracted."""
    shutil.copytree(extracted, tmp_path / "workspace")
    server = Server(tmp_path / "workspace")
    server.start()
    yield server
    server.kill()
