import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedTrustManager;

/**
 * A client of DynamoDB in plain Java: it gets one item, and says so or what the trouble was, in JSON.
 *
 * Arguments: the URL; the certificate that is trusted, in PEM, or "insecure" for a TrustManager and a HostnameVerifier that pass everything;
 * and what the request is made with, "url" (HttpsURLConnection) or "client" (java.net.http).
 */
class JavaClient {
	static final String BODY = "{\"TableName\":\"Orders\",\"Key\":{\"id\":{\"S\":\"1\"}}}";
	// dynalite demands the form of a signature, and does not check it.
	static final String[] HEADERS = {
		"Content-Type", "application/x-amz-json-1.0", "X-Amz-Target", "DynamoDB_20120810.GetItem", "X-Amz-Date", "20260101T000000Z", "Authorization",
		"AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x",
	};

	public static void main(String[] args) {
		String problem = "";
		try {
			int status = args[2].equals("client") ? withClient(args[0], args[1]) : withURL(args[0], args[1]);
			if (status != 200) {
				problem = "status " + status;
			}
		} catch (Exception e) {
			problem = e.toString();
		}
		System.out.println("{\"problem\": \"" + problem.replace("\\", "\\\\").replace("\"", "\\\"") + "\"}");
	}

	static int withURL(String url, String trusted) throws Exception {
		var connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
		if (connection instanceof HttpsURLConnection https) {
			https.setSSLSocketFactory(context(trusted).getSocketFactory());
			if (trusted.equals("insecure")) {
				https.setHostnameVerifier((name, session) -> true);
			}
		}
		connection.setConnectTimeout(20_000);
		connection.setReadTimeout(20_000);
		for (int i = 0; i < HEADERS.length; i += 2) {
			connection.setRequestProperty(HEADERS[i], HEADERS[i + 1]);
		}
		connection.setDoOutput(true);
		try (OutputStream out = connection.getOutputStream()) {
			out.write(BODY.getBytes(StandardCharsets.UTF_8));
		}
		int status = connection.getResponseCode();
		try (InputStream in = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
			in.readAllBytes();
		}
		connection.disconnect();
		return status;
	}

	static int withClient(String url, String trusted) throws Exception {
		var client = HttpClient.newBuilder().sslContext(context(trusted)).build();
		var request = HttpRequest.newBuilder(URI.create(url)).headers(HEADERS).POST(HttpRequest.BodyPublishers.ofString(BODY)).build();
		return client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
	}

	static SSLContext context(String trusted) throws Exception {
		var context = SSLContext.getInstance("TLS");
		context.init(null, trusted.equals("insecure") ? new TrustManager[] {new Anyone()} : roots(trusted), null);
		return context;
	}

	static TrustManager[] roots(String file) throws Exception {
		var store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (InputStream in = Files.newInputStream(Path.of(file))) {
			store.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(in));
		}
		var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		factory.init(store);
		return factory.getTrustManagers();
	}

	/** The TrustManager that passes everything, as programs have it. Were it not an extended one, Java would check the name all the same. */
	static class Anyone extends X509ExtendedTrustManager {
		public void checkClientTrusted(X509Certificate[] chain, String type) {}

		public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) {}

		public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

		public void checkServerTrusted(X509Certificate[] chain, String type) {}

		public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) {}

		public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

		public X509Certificate[] getAcceptedIssuers() {
			return new X509Certificate[0];
		}
	}
}
