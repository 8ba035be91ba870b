"""What the workbench costs those who look: first paint, page switches, a tick, 10 000 clips, and memory over time.

``python -m bench workbench`` measures the first four; ``python -m bench.workbench soak`` the last, for half an hour.
"""

import argparse
import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "examples" / "piano-touch"
PAGES = {"dataset": "Dataset", "features": "Features", "train": "Train", "explain": "Explain", "predict": "Predict", "runs": "Runs"}
MANY = 10_000
TURNS = 7
WAYS = ("switch", "switch_many")
CHOSEN = ".st-key-dataset_clip audio"
IDLE = "[data-testid='stApp'][data-test-script-state='notRunning']"
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
)


@contextlib.contextmanager
def serving(workspace: Path) -> Iterator[tuple[str, int]]:
    """The address and the process number of ``earmark app`` on a workspace."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app", "--workspace", str(workspace), "--port", str(port)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                    break
                time.sleep(0.2)
            yield url, process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def prepare(source: Path, folder: Path) -> tuple[Path, Path]:
    """A workspace with a small run on the bundled set and 10 000 clips that were looked at and extracted; and those clips."""
    from core import jobs
    from core.data.layouts.layout import Layout
    from core.ensemble import EnsembleSettings
    from core.extraction.config import ExtractSettings
    from core.jobs.runner import perform
    from core.tasks.kinds import work
    from core.workspace import to_json

    many, workspace = folder / "many", folder / "workspace"
    clips = sorted((source / "audios" / "train").iterdir())
    (many / "audios" / "train").mkdir(parents=True)
    (many / "csvs").mkdir()
    rng = np.random.default_rng(0)
    with (many / "csvs" / "train.csv").open("w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(("filename", "label", "speaker"))
        for number in range(MANY):
            clip = clips[number % len(clips)]
            name = f"clip_{number:05d}{clip.suffix}"
            (many / "audios" / "train" / name).symlink_to(clip)
            rows.writerow((name, f"{rng.normal(3, 1):.2f}", f"speaker{number % 97}"))
    extract = ExtractSettings(features=("mfcc", "metadata"))
    ensemble = EnsembleSettings(members=("lightgbm", "ridge"), folds=3)
    sets = {"extract": extract}
    asked: list = [(many, "check", {}), (many, "extract", sets), (BUNDLED, "check", {}), (BUNDLED, "extract", sets)]
    asked.append((BUNDLED, "train", sets | {"ensemble": ensemble}))
    os.environ["MLFLOW_TRACKING_URI"] = "off"
    for root, kind, settings in asked:
        request = {"dataset": str(root), "layout": to_json(Layout()), **settings}
        perform(jobs.claim(kind, request, workspace / "jobs")[0], work)
    return workspace, many


def choose(workspace: Path, dataset: Path) -> None:
    """Make a data set the one that new sessions open."""
    from core.data.layouts.layout import Layout
    from core.workspace import to_json, write_json

    write_json(workspace / "recent.json", [{"path": str(dataset), "layout": to_json(Layout())}])


def measure(source: Path, folder: Path) -> dict[str, object]:
    """All figures but memory, in seconds."""
    from playwright.sync_api import sync_playwright

    workspace, many = prepare(source, folder)
    figures: dict[str, object] = {"tick": tick(folder)}
    choose(workspace, BUNDLED)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        with serving(workspace) as (url, _):
            figures["paint"] = [paint(browser, url) for _ in range(TURNS + 1)][1:]  # the first warms the server
            figures["switch"] = switches(browser, url)
        choose(workspace, many)
        with serving(workspace) as (url, _):
            figures["switch_many"] = switches(browser, url)
            figures["many"] = many_clips(browser, url)
        browser.close()
    return figures


def paint(browser, url: str) -> tuple[float, float, float]:
    """Seconds until a browser that was never here shows the title of Home, and its cards; and the cards when it comes again."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator("h1").first.wait_for()
    title = time.perf_counter() - began
    page.get_by_test_id("stMetric").first.wait_for()
    cards = time.perf_counter() - began
    page.goto("about:blank")
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.get_by_test_id("stMetric").first.wait_for()
    again = time.perf_counter() - began
    context.close()
    return title, cards, again


def switches(browser, url: str) -> dict[str, list[float]]:
    """Seconds from a click in the sidebar until the page has its title, and until it is whole, by page; visited before once."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.get_by_test_id("stMetric").first.wait_for()
    took: dict[str, list[float]] = {}
    for turn in range(4):
        for path, title in PAGES.items():
            link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True)
            page.locator(IDLE).wait_for()
            began = time.perf_counter()
            link.click()
            page.locator("h1", has_text=title).wait_for()
            shown = time.perf_counter() - began
            page.locator(IDLE).wait_for()
            if turn:
                took.setdefault(path, []).append(shown)
                took.setdefault(f"{path}, whole", []).append(time.perf_counter() - began)
    context.close()
    return took


def many_clips(browser, url: str) -> dict[str, float]:
    """The Dataset page with 10 000 clips: opened anew, and a click on a row until the clip is there."""
    context = browser.new_context(viewport={"width": 1440, "height": 1400})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(f"{url}/dataset")
    page.locator(CHOSEN).wait_for(state="attached")
    took = {"opened": time.perf_counter() - began}
    page.locator(IDLE).wait_for()
    table = page.locator(".st-key-dataset_clips canvas").first
    table.scroll_into_view_if_needed()
    for turn in range(3):
        before = page.locator(CHOSEN).get_attribute("src")
        began = time.perf_counter()
        table.click(position={"x": 300, "y": 35 * (3 + turn) + 17}, force=True)
        page.wait_for_function(f"was => (document.querySelector('{CHOSEN}')?.getAttribute('src') ?? was) !== was", arg=before)
        took["row to player"] = time.perf_counter() - began
        page.locator(IDLE).wait_for()
    context.close()
    return took


def tick(folder: Path) -> dict[str, float]:
    """A rerun of the Train page while 7 members x 5 folds x 3 repeats are nearly done, 200 rounds told of each boosted fit."""
    code = "import sys; from bench.workbench import time_tick; time_tick(sys.argv[1])"
    environment = {**os.environ, "EARMARK_WORKSPACE": str(folder / "ticking"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder / "ticking")],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def time_tick(workspace: str) -> None:
    """Print the median seconds of a rerun with and without the running job."""
    from filelock import FileLock
    from streamlit.testing.v1 import AppTest

    from core import jobs
    from core.data.layouts.layout import Layout
    from core.ensemble import EnsembleSettings
    from core.ensemble.models import CATALOGUE
    from core.events import EventLog, FitFinished, FoldScored, JobStarted, LeakGapFound, RoundsScored, TrainingStarted
    from core.extraction.config import ExtractSettings
    from core.workspace import to_json

    choose(Path(workspace), BUNDLED)
    at = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60).run()
    at.switch_page("../pages/3_train.py").run()

    def rerun() -> float:
        times = []
        for _ in range(9):
            began = time.perf_counter()
            at.run()
            times.append(time.perf_counter() - began)
        return float(np.median(times))

    quiet = rerun()
    ensemble, folds, repeats = EnsembleSettings(repeats=3), 5, 3
    request = {"dataset": str(BUNDLED), "layout": to_json(Layout()), "extract": ExtractSettings(), "ensemble": ensemble}
    job, _ = jobs.claim("train", request, Path(workspace) / "jobs")
    members = list(CATALOGUE)
    with FileLock(job.lock), EventLog(job.events) as log:
        log.append(JobStarted(os.getpid(), os.uname().nodename))
        log.append(LeakGapFound(0.6, 0.8, "speaker"))
        log.append(TrainingStarted(len(members) * folds * repeats))
        for repeat in range(repeats):
            for fold in range(folds):
                for member in members:
                    if member in ("xgboost", "lightgbm", "catboost"):
                        for rounds in range(1, 201):
                            log.append(RoundsScored(member, repeat, fold, rounds, 1 + 1 / rounds))
                    if (repeat, fold) != (repeats - 1, folds - 1):
                        log.append(FitFinished(member, fold, 1.0, None, 1.0, 1.0, 2.0, repeat))
                if (repeat, fold) != (repeats - 1, folds - 1):
                    log.append(FoldScored(fold, 1.0, repeat))
        log.append(FitFinished(members[0], folds - 1, 1.0, None, 1.0, 1.0, 2.0, repeats - 1))
        busy = rerun()
    assert not at.exception, at.exception
    print(json.dumps({"quiet": quiet, "busy": busy}))


def section(source: Path, folder: Path) -> list[str]:
    """The lines of bench.md."""
    if shutil.which("chromium") is None:
        return ["## Workbench", "", "Not measured: Chromium is not installed."]
    found = measure(source, folder)
    switch, whole = (
        {way: [one for name, times in found[way].items() if name.endswith(", whole") == part for one in times] for way in WAYS}
        for part in (False, True)
    )

    def row(what: str, times: list[float], aim: str) -> str:
        return f"| {what} | {np.median(times):.2f} | {max(times):.2f} | {aim} |"

    tick_s = found["tick"]["busy"] - found["tick"]["quiet"]
    return [
        "## Workbench: server, browser and page on these cores, seconds",
        "",
        f"Headless Chromium, a warm server, 1440 x 900. {MANY:,} clips: links to those of {source.name}, looked at and extracted.",
        "",
        "| | median | worst | aim |",
        "|---|---|---|---|",
        row("first paint of Home: its title, a browser without cache", [title for title, _, _ in found["paint"]], "1.5"),
        row("Home with its cards, a browser without cache", [cards for _, cards, _ in found["paint"]], "1.5"),
        row("Home with its cards, a browser that was here before", [again for _, _, again in found["paint"]], "1.5"),
        row("page switch until the page has its title, bundled set", switch["switch"], "0.5"),
        row("page switch until the page is whole, bundled set", whole["switch"], ""),
        row(f"page switch until the page has its title, {MANY:,} clips", switch["switch_many"], "0.5"),
        row(f"page switch until the page is whole, {MANY:,} clips", whole["switch_many"], ""),
        row(f"{MANY:,} clips: the Dataset page opened anew until a clip can be heard", [found["many"]["opened"]], ""),
        row(f"{MANY:,} clips: click on a row until its clip can be heard", [found["many"]["row to player"]], ""),
        row("a tick of the Train page, 7 members x 5 folds x 3 repeats", [tick_s], "0.1"),
        "",
        f"The tick is what the running job adds to a rerun of the page ({found['tick']['quiet']:.3f} s without it).",
        *memory(),
    ]


def memory() -> list[str]:
    """What ``soak`` noted when it was last run."""
    path = ROOT / "bench" / "soak.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    server = [int(row["server_mb"]) for row in rows]
    heaps = [int(row[name]) for row in rows for name in row if name.startswith("heap")]
    return [
        "",
        f"Three browsers on a running job for {rows[-1]['minute']} minutes (`python -m bench.workbench soak`, `soak.csv`): the "
        f"server holds {min(server)} to {max(server)} MB, {server[-1]} in the end; each page {min(heaps)} to {max(heaps)} MB of "
        "JavaScript.",
    ]


def soak(minutes: float, out: Path) -> None:
    """Three browsers watch a training; memory of the server and all its work is noted each minute."""
    from playwright.sync_api import sync_playwright

    from core import jobs
    from core.data.layouts.layout import Layout
    from core.ensemble import EnsembleSettings
    from core.extraction.config import ExtractSettings
    from core.workspace import to_json

    with tempfile.TemporaryDirectory(prefix="earmark-soak-") as name, sync_playwright() as playwright:
        workspace = Path(name) / "workspace"
        choose(workspace, BUNDLED)
        request = {"dataset": str(BUNDLED), "layout": to_json(Layout()), "extract": ExtractSettings()}
        request["ensemble"] = EnsembleSettings(preset="classic", folds=10, repeats=20, workers=1)
        os.environ["MLFLOW_TRACKING_URI"] = "off"
        job = jobs.submit("train", request, workspace / "jobs")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        lines = ["minute,server_mb,heap_mb_1,heap_mb_2,heap_mb_3,job"]
        with serving(workspace) as (url, pid):
            pages = [browser.new_context(viewport={"width": 1440, "height": 900}).new_page() for _ in range(3)]
            for page in pages:
                page.goto(f"{url}/train")
            began = time.monotonic()
            for minute in range(int(minutes) + 1):
                time.sleep(max(0.0, began + 60 * minute - time.monotonic()))
                heaps = [page.evaluate("performance.memory.usedJSHeapSize") / 1e6 for page in pages]
                lines.append(f"{minute},{resident_mb(pid):.0f},{','.join(f'{heap:.0f}' for heap in heaps)},{jobs.status(job)}")
                print(lines[-1], flush=True)
                out.write_text("\n".join(lines) + "\n")
        jobs.cancel(job)
        browser.close()
        for _ in range(20):
            if jobs.status(job) not in jobs.ACTIVE:
                break
            jobs.escalate_cancel(job)
            time.sleep(1)


def resident_mb(pid: int) -> float:
    """Memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.workbench", description=__doc__)
    parser.add_argument("what", choices=["soak"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "soak.csv")
    options = parser.parse_args()
    soak(options.minutes, options.out)
