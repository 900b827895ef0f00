"""Evaluation: tasks with exact checkers, and worlds that generate them."""
