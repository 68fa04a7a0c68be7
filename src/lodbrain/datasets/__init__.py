"""Public datasets: download, verification and local storage; BIDS input and derivatives."""
