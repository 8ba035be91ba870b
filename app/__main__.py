"""``python -m app``: the server, bound to this machine, with safe options and a route for clips. ``earmark app`` starts it."""

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ["localhost", "127.0.0.1"]
OPTIONS = {
    "server.address": "127.0.0.1",
    "server.allowedHosts": HOSTS,
    "server.showEmailPrompt": False,
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.fileWatcherType": "none",
    "server.maxUploadSize": 500,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "viewer",
}


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="earmark app")
    parser.add_argument("--workspace", metavar="DIR")
    parser.add_argument("--port", type=int, metavar="N")
    parser.add_argument("--from", dest="start", default=str(Path.cwd()), metavar="DIR", help="where relative paths begin")
    options = parser.parse_args()

    from core.workspace import Workspace

    os.environ["EARMARK_WORKSPACE"] = str(Workspace.resolve(options.workspace).root)  # before the folder changes
    os.environ["EARMARK_START"] = str(Path(options.start).absolute())
    os.chdir(ROOT)  # where .streamlit/config.toml is

    import streamlit as st
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response
    from starlette.routing import Route

    from app import clip_urls
    from core.data.playback import playable
    from core.errors import AudioError

    def clip(request: Request) -> Response:  # not async: decoding may take a while
        found = clip_urls.find(request.path_params["clip_id"])
        if found is None or not found[0].is_file():
            return PlainTextResponse("no such clip", status_code=404)
        try:
            sound, mime = playable(*found)
        except AudioError as error:
            return PlainTextResponse(error.reason, status_code=415)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        if isinstance(sound, Path):
            return FileResponse(sound, headers=headers, media_type=mime)
        return Response(sound, headers=headers, media_type=mime)

    clip_urls.serve()
    app = st.App(
        ROOT / "app" / "main.py",
        routes=[Route("/api/clip/{clip_id}", clip)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
    )
    app.run(config=OPTIONS | ({} if options.port is None else {"server.port": options.port}))


if __name__ == "__main__":
    main()
