"""How a program becomes steps over one arena of memory, which a single compiled call runs."""
