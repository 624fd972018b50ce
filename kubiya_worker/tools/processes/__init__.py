"""Running programs for tools: start, output, time limit, and the end of everything that a program started."""
