"""`sia demo`: a page in the browser to try a model on."""

from __future__ import annotations

import argparse
import os
import tempfile

from sia.errors import ConfigError
from sia.io.bundled_weights import DEFAULT, readable_weights
from sia.io.optional import need_extra


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `sia demo`."""
    parser.add_argument(
        "--weight_path", default=DEFAULT.stem, metavar="FILE",
        help="what the page begins with: a file, the name of bundled weights, or hf:owner/name (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="NAME", help="as for sia predict (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="0.0.0.0 lets in everyone who can reach this machine (default: %(default)s, this machine alone)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="default: %(default)s")
    parser.add_argument("--share", action="store_true", help="a public address, through a server of gradio's makers")


def run(args: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C; what people gave it is removed then.

    Raises:
        ConfigError: gradio is missing, or the port is taken.
        WeightsError: the file is missing, broken, unsafe, or not of a SIA Pose model.
    """
    readable_weights(args.weight_path)
    need_extra("demo", "The demo")
    with tempfile.TemporaryDirectory(prefix="sia-demo-") as folder:
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_TEMP_DIR": folder
        }  # fmt: skip
        from sia.sharing.demo_page import build_page

        page = build_page(args.weight_path, args.device, folder)
        print(f"http://{args.host}:{args.port}   (Ctrl-C ends it)", flush=True)
        try:
            page.launch(
                server_name=args.host, server_port=args.port, share=args.share, quiet=True, max_file_size="500mb"
            )
        except (OSError, OverflowError) as error:
            raise ConfigError(f"Can't serve at {args.host}:{args.port}: {error}. Name another --port.") from error
