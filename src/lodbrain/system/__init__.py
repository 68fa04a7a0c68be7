"""Files written whole, memory, signals, threads: what the operating system gives."""
