from fuxictr_loopfm import main

if __name__ == "__main__":
    main(__file__)
