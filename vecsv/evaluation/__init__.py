"""The numbers people quote: trial lists, their scores, error rates with intervals, and two systems side by side."""
