"""Links datasets: who fills the arrays, by measurement or simulation; and nothing else differs."""
