"""This project beside the paper: its statements, its numbers, its tables and the sweeps behind them."""
