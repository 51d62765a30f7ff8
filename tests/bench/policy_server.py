"""A trivial HTTP policy server for rlm_rest that admits every name. Called with its port."""

from __future__ import annotations

import sys

from aiohttp import web


async def check(_request: web.Request) -> web.Response:
    return web.Response(status=204)


def main() -> None:
    application = web.Application()
    application.router.add_get("/check/{name}", check)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
