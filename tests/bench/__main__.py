"""`script/bench`."""

from tests.bench.cli import main

if __name__ == "__main__":
    main(prog_name="script/bench")
