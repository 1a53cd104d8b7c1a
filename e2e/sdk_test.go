package e2e

import (
	"slices"
	"testing"
)

// sdkGuesses are what may be guessed of a client, by what the guess rests on.
func sdkGuesses(client string) map[string]string {
	switch client {
	case "go":
		return map[string]string{"user-agent": "aws-sdk-go-v2", "modules": "aws-sdk-go-v2", "client-hello": "go"}
	case "node":
		return map[string]string{"user-agent": "aws-sdk-js", "program": "node", "client-hello": "node"}
	case "crt":
		return map[string]string{"program": "python"}
	case "boringssl":
		return nil
	case "java":
		return map[string]string{"program": "java", "client-hello": "java"}
	case "curl":
		return map[string]string{"user-agent": "curl", "program": "curl"}
	}
	return map[string]string{"user-agent": "boto3", "program": "python", "client-hello": "python"} // boto3, Django, Flask
}

// TestSDK: a guess may be missing, where the process was gone and its ClientHello says nothing, but none is wrong; and requests in clear say it.
func TestSDK(t *testing.T) {
	for _, source := range []string{"file", "packet", "ebpf"} {
		t.Run(source, func(t *testing.T) {
			o := observe(t, source)
			guessed, sessions := map[string]int{}, 0
			for _, s := range theRig.scenarios {
				may := sdkGuesses(s.client)
				for _, v := range o.at(s) {
					sessions++
					clear := slices.Contains([]string{"http", "connect+http"}, v.Transport) && v.HTTP.Operation != ""
					switch want := may[v.SDK.By]; {
					case v.SDK.Guess == "" && !clear:
						continue
					case v.SDK.Guess != want || want == "" || clear && v.SDK.By != "user-agent":
						t.Errorf("%s: the guess at %s is %+v\nin %s", s.name, s.client, v.SDK, v.line)
					}
					guessed[v.SDK.By]++
				}
			}
			known := 0
			for _, n := range guessed {
				known += n
			}
			if known < sessions*2/3 || guessed["user-agent"] == 0 {
				t.Errorf("of %d sessions %v", sessions, guessed)
			}
			if source == "file" && guessed["client-hello"] == 0 || source == "ebpf" && (guessed["program"] == 0 || guessed["modules"] == 0) {
				t.Errorf("guesses by %v", guessed)
			}
			t.Logf("of %d sessions %v", sessions, guessed)
		})
	}
}
