"""One module a scenario. Each has `run(settings)`, which gives rows and bars, and `text(figures)`, which shows them."""
