"""Studies that one chapter tells: they may use every room, and only pages, figures and the command line use them."""
